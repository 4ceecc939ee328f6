"""Bundles in Ray: `BundleRows` for your own `map_batches`, and a job that takes folders and tables through a bundle.

    import ray
    from perceiver_runtime.ray import BundleRows

    rows = ray.data.read_parquet("pairs.parquet")  # columns frame1, frame2: names of files, s3:// too, or their bytes
    table = rows.map_batches(
        BundleRows,
        fn_constructor_args=("/bundles/flow",),
        fn_constructor_kwargs={"threads": 2},
        compute=ray.data.ActorPoolStrategy(size=4),
        num_cpus=2,  # of each actor: what `threads` says, or actors fight over cores
        batch_size=64,  # rows that one call gets; how many of them run at once, BundleRows finds out
    )  # … and mean_dx, mean_dy, mean_length, max_length, error
    table.write_parquet("motion")

rows.py has `BundleRows`, pace.py how many rows it runs at once, remote.py addresses such as s3://. The job is what
`examples/ray_table.py` runs: command.py is what one types, sources.py what there is to do, answers.py the table of answers and
how it is continued, crew.py the actors. Ray and pyarrow are imported where a job begins, see library.py; `BundleRows` needs
neither.
"""

from perceiver_runtime.ray.rows import ERROR, BundleRows

__all__ = ["ERROR", "BundleRows"]
