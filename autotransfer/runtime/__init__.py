"""The machine: devices, memory, threads, files, storages, deadlines."""
