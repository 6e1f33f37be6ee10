# del-in-exception {"want": "timeout_cpu|timeout_wall|exception"}
class E(Exception):
    def __del__(s):
        while True: pass
raise E('x')
