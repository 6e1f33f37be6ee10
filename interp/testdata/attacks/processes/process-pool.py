# process-pool {"want": "exc:PermissionError|exc:OSError|exc:FileNotFoundError|exc:BrokenProcessPool|exc:ImportError|exc:NotImplementedError"}
from concurrent.futures import ProcessPoolExecutor as T
with T(2) as t: print('BAD',list(t.map(abs,[1])))
