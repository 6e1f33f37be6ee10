# fs-watch {"as": "denied", "want": "ok"}
s(@294/26@,0)
s(@300/262@,0,0)
s(@254/27@,3,b'/tmp',4095)
