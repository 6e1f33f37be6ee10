# bpf-perf-uffd {"as": "denied", "want": "ok"}
s(@321/280@,0,ctypes.create_string_buffer(128),128)
s(@298/241@,ctypes.create_string_buffer(128),0,-1,-1,0)
s(@323/282@,0)
s(@323/282@,1)
