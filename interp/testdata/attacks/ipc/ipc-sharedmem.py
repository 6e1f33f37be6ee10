# ipc-sharedmem {"want": "exc:FileNotFoundError|exc:PermissionError|exc:OSError|exc:ImportError"}
from multiprocessing import shared_memory
shared_memory.SharedMemory(create=True,size=4096)
