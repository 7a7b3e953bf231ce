"""Train and test codecs of the DVC family from yml and json files: ``python DVC.py --help``."""

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    from torchDVC.util.start import program

    program("torchDVC.dvc_front.main")
