"""Video files, through PyAV (FFmpeg's libraries), which the extra `video` brings: read and written frame by frame."""
