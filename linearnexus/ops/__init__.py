"""Pure array math, no parameters: attention, selective scan, short convolution."""
