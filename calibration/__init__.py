"""Recorded arrays -> dated result, residuals, verdict. No devices, no clock."""
