"""One file a sequence mixer: parameters and gates, one op call."""
