# decompression-bomb {"want": "exc:MemoryError|timeout_cpu|timeout_wall|memory"}
import zlib
b=zlib.compress(bytes(1<<24),9)
d=b''
for _ in range(200): d+=zlib.decompress(b)
