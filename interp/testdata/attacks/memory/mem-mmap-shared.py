# mem-mmap-shared {"want": "memory|exc:OSError|exc:MemoryError|timeout_cpu|timeout_wall"}
import mmap
a=[]
while True:
    m=mmap.mmap(-1,64<<20); a.append(m)
    for i in range(0,64<<20,4096): m[i]=1
