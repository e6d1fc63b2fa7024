"""Markets with a known optimum: a module that defines `MARKET` is one."""
