"""Series of numbers to labels: runtime.py for the device, model.py and export.py where bundles are made."""
