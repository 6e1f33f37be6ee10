# mem-pickle-bomb {"want": "exc:MemoryError|timeout_cpu|timeout_wall|memory"}
import pickle
x=b'x'*1000
for _ in range(64): x=pickle.dumps([x,x+b'a',x+b'b',x+b'c'])
