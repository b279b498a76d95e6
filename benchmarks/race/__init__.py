"""LinearNexus against its peers on the same machine in the same minutes: `make bench`."""
