"""What a user drives on a workstation: checkpoint → verified bundle, and the `perceiver-export` command.

>>> from perceiver_deploy import export_bundle
>>> export_bundle(task="flow", checkpoint="flow-small", output="flow")
"""

from perceiver_deploy.export import export_bundle
from perceiver_deploy.own.export_model import export_model
from perceiver_deploy.own.kinds import Arrays, Image, Labels, Positions, Text
from perceiver_deploy.own.media_kinds import Audio, Video
from perceiver_deploy.own.output_kinds import Boxes, BoxLabels, Spans, TokenLabels
from perceiver_deploy.pushing import push_bundle

__version__ = "0.2.0"

__all__ = [
    "Arrays",
    "Audio",
    "BoxLabels",
    "Boxes",
    "Image",
    "Labels",
    "Positions",
    "Spans",
    "Text",
    "TokenLabels",
    "Video",
    "__version__",
    "export_bundle",
    "export_model",
    "push_bundle",
]
