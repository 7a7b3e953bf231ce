"""torchDVC, the Learned Codec Protocol: create, train, test and use practical learned video codecs."""

__version__ = "0.1.0"
