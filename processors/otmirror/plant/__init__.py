"""A plant to read from: recorded or synthetic wells behind a real OPC UA server and a real Modbus device."""

from otmirror.plant.service import Plant, PlantConfig, Progress

__all__ = ["Plant", "PlantConfig", "Progress"]
