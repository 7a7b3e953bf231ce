"""Runs anchor codecs: ``python -m torchDVC.anchors``."""

from torchDVC.anchors.command import main

if __name__ == "__main__":
    raise SystemExit(main())
