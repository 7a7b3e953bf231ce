"""Runs anchor codecs: ``python -m torchDVC.anchors``."""

from torchDVC.anchors.command import main

raise SystemExit(main())
