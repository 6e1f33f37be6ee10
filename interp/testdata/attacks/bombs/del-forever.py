# del-forever {"want": "timeout_cpu|timeout_wall|ok"}
class D:
    def __del__(s):
        while True: pass
d=D()
del d
print('after')
