"""Sources of candles: a module that defines `load` is one; helpers begin with an underscore."""
