# import-loop {"want": "timeout_cpu|timeout_wall"}
import sys
class F:
    def find_spec(s,*a):
        while True: pass
sys.meta_path.insert(0,F())
import nothing
