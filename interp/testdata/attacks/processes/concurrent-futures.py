# concurrent-futures {"want": "ok", "has": "285"}
from concurrent.futures import ThreadPoolExecutor as T
with T(4) as t: print(sum(t.map(lambda x: x*x,range(10))))
