"""Train and test codecs of the DVC family from yml and json files: ``python DVC.py --help``."""

import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
    from torchDVC.dvc_front.main import main

    sys.exit(main())
