"""The engine, a child process of the recorder: everything that parses, counts, decides, stores and serves."""
