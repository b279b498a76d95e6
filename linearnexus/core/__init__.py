"""Module and pytree helpers, layers, configs, errors: everything the other packages stand on."""
