"""The command line of `python`, for an interpreter that comes without one: -V, -c CODE, -m MODULE, or a file.

A freezing tool's base executable imports this by the name of the executable and calls `run`. Options without a value are
accepted and do nothing, but for -B; -W and -X have one.
"""

import _sitebuiltins
import builtins
import os
import runpy
import sys


def run(_: str) -> None:
    """Do what `sys.argv` says."""
    library = os.path.join(os.path.dirname(sys.executable), "lib")
    sys.path[:] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path] + [library]
    sys.executable = os.environ.get("EMULATED_PYTHON", sys.executable)
    sys.dont_write_bytecode = True
    builtins.exit = builtins.quit = _sitebuiltins.Quitter("exit", "Ctrl-D")
    arguments = sys.argv[1:]
    while arguments and arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option in ("-V", "--version"):
            print("Python", sys.version.split()[0])
            return
        if option == "-c":
            code, sys.argv = arguments[0], ["-c", *arguments[1:]]
            sys.path.insert(0, "")
            execute(compile(code, "<string>", "exec"))
            return
        if option == "-m":
            module, sys.argv = arguments[0], ["-m", *arguments[1:]]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            return
        if option in ("-W", "-X"):
            arguments.pop(0)
    if not arguments:
        raise SystemExit("give -c CODE, -m MODULE or a file")
    sys.argv = arguments
    sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
    with open(arguments[0], "rb") as file:
        execute(compile(file.read(), arguments[0], "exec"))


def execute(code: object) -> None:
    """As the main module."""
    names = sys.modules["__main__"].__dict__
    names.update(__name__="__main__", __spec__=None)
    exec(code, names)  # type: ignore[arg-type]
