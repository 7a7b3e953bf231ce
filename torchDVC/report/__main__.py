"""Writes a report page: ``python -m torchDVC.report``."""

from torchDVC.report.command import main

if __name__ == "__main__":
    raise SystemExit(main())
