# exc-metaclass {"want": "exc:E|exception"}
class M(type):
    @property
    def __name__(c): raise KeyError
    def __getattribute__(c,n): raise KeyError
class E(Exception,metaclass=M): pass
raise E()
