"""Runs anchor codecs: ``python -m torchDVC.anchors``."""

if __name__ == "__main__":
    from torchDVC.util.start import program

    program("torchDVC.anchors.command")
