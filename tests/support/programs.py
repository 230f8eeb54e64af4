"""The dialplan that holds a conversation over EAGI."""

EAGI = """
[eagi]
exten => s,1,Answer()
 same => n,EAGI(asterisk-ai-eagi,desk)
 same => n,NoOp(AGISTATUS=${AGISTATUS} AI_STATUS=${AI_STATUS})
 same => n,AGI(asterisk-ai-agi,next,${AI_CALL_ID})
 same => n,NoOp(AI_NEXT=${AI_NEXT})
 same => n,Hangup()
exten => h,1,AGI(asterisk-ai-agi,end,${AI_CALL_ID})
"""
