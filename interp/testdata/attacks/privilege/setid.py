# setid {"as": "denied", "want": "ok"}
os.setuid(0)
os.setgid(0)
os.setresuid(0,0,0)
os.setgroups([0])
c('capset',ctypes.create_string_buffer(8),ctypes.create_string_buffer(24))
s(@122/151@,0) and 0 or c('setfsuid',0) or (_ for _ in ()).throw(OSError(1))
