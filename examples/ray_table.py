"""A folder or a table of images, pairs of images, clips, sounds or texts, through a bundle, to a table of answers, with Ray.

    pip install './runtime[cpu,images,ray]'
    python examples/ray_table.py flow frames/ motion/ --actors 2              # pairs of consecutive images, in natural order
    python examples/ray_table.py text-classification texts.parquet kinds/     # columns id, text; also .csv, s3://…
    python examples/ray_table.py flow frames/ motion/ --address auto          # on a Ray cluster

A folder gives a row for each file (for flow: for each file and the next), its name as `id`; a text file gives one for each
line. A table has the columns that perceiver_runtime.ray.BundleRows reads, and `id`; names of files in it are relative to its
folder. Answers are in OUTPUT as they are found, with an `error` column: a bad item fails alone, also one that kills its
process. The same command again does only what is missing: after an interruption, or where inputs are new or have changed.
On a cluster all nodes see bundle and inputs under the same paths; OUTPUT is on the machine that runs this.
"""

import sys

from perceiver_runtime.ray.command import main

if __name__ == "__main__":
    sys.exit(main(about=__doc__))
