# ipc-multiprocessing {"want": "exc:PermissionError|exc:OSError"}
import multiprocessing as m
p=m.Process(target=print); p.start()
