"""What `honed bench` can measure; each module makes the arms of one scenario.

A module is imported when its scenario is asked for, so that none needs the packages of another.
"""

from importlib import import_module

from honed_loadtest.arm import Scenario

NAMES = ("steady", "closed", "swap", "learn", "overload", "mix", "mlperf")


def scenario(name: str) -> Scenario:
    """The scenario of this name, one of NAMES."""
    found: Scenario = import_module(f"honed_loadtest.scenarios.{name}").SCENARIO
    return found
