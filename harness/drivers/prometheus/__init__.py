"""Reads a plan's Prometheus SLIs: raw samples of a phase, on a thread; and what its queries answer before the run."""

from harness.drivers.prometheus.source import PrometheusSource

__all__ = ["PrometheusSource"]
