"""Checkpoints in: folders and the hub, transformers' names and configurations, safetensors and restricted pickles."""
