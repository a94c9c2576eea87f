"""What the package asks of the machine: devices, memory, threads, files, storages, deadlines."""
