"""Checks of `train.doctor`: the machine, the laws that hold on any device, the speed of the three models."""
