"""Writes a report page: ``python -m torchDVC.report``."""

if __name__ == "__main__":
    from torchDVC.util.start import program

    program("torchDVC.report.command")
