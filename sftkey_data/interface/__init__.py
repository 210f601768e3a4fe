"""The Python interface: `build` and `load`, and what the interfaces of all packages are made with."""
