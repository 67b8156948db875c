"""A checkpoint of 20,000 small tensors is opened and they are listed."""

import open as opened


def make(variant, setting):
    return opened.make(variant, setting, "small.pt")
