"""The graphs of each task: wrappers around the model that take and give what the runtime feeds and reads."""
