# out-exception-name-unicode {"want": "exception alive"}
class Größe(Exception): pass
raise Größe('x')
