"""Ports for servers of tests that run beside one another, in this run and in others on the machine."""

from asterisk_ai.simulator.ports import free_port, free_ports

__all__ = ["free_port", "free_ports"]
