"""Writes a report page: ``python -m torchDVC.report``."""

from torchDVC.report.command import main

raise SystemExit(main())
