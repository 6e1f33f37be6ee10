# A44 {"want": "ok alive", "has": "END"}
print("B"*(1<<20)); print("END")
