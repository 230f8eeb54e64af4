"""E-mail about a call that has ended."""

from __future__ import annotations

import logging
import smtplib
import ssl
import time
from email.errors import HeaderParseError
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, parseaddr

from asterisk_ai import __version__
from asterisk_ai.config import MailConfig, MessageConfig
from asterisk_ai.config.schema.mail import PLACEHOLDER
from asterisk_ai.server.after.courier import DeliveryFailed
from asterisk_ai.session.backends.deliveries import Delivery
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.report import slots, summary, transcript

logger = logging.getLogger(__name__)

_MAX_HEADER = 200


class Mail:
    """One of the configuration's messages. Used by its courier's thread."""

    def __init__(self, config: MailConfig, message: MessageConfig) -> None:
        self._config = config
        self._message = message
        self._tls: ssl.SSLContext | None = None

    def send(self, one: Delivery, session: CallSession) -> None:
        """Hand it to the server. Raises DeliveryFailed."""
        try:
            made = message_of(self._config, self._message, one, session)
            with self._connected() as server:
                refused = server.send_message(made)
        except smtplib.SMTPResponseException as error:
            raise DeliveryFailed(f"the mail server answers {error.smtp_code}") from error  # its words may hold a name
        except smtplib.SMTPRecipientsRefused as error:
            raise DeliveryFailed("the mail server takes none of the addresses") from error
        except (OSError, smtplib.SMTPException, HeaderParseError, ValueError) as error:
            raise DeliveryFailed(f"{type(error).__name__}: {error}"[:_MAX_HEADER]) from error

        if refused:
            logger.warning("the mail server takes %d of the %d addresses only", len(self._message.to) - len(refused),
                           len(self._message.to), extra={"call_id": session.call_id})  # fmt: skip

    def _connected(self) -> smtplib.SMTP:
        config = self._config
        if config.security != "none":
            self._tls = self._tls or ssl.create_default_context()
        server: smtplib.SMTP
        if config.security == "tls":
            server = smtplib.SMTP_SSL(config.server, config.port, timeout=config.timeout_seconds, context=self._tls)
        else:
            server = smtplib.SMTP(config.server, config.port, timeout=config.timeout_seconds)
        try:
            if config.security == "starttls":
                server.starttls(context=self._tls)
            if config.user:
                server.login(config.user, config.password)
        except (OSError, smtplib.SMTPException):
            server.close()
            raise
        return server


def message_of(config: MailConfig, message: MessageConfig, one: Delivery, session: CallSession) -> EmailMessage:
    """The e-mail about a call; nothing that a caller said or is called becomes a header of its own."""
    known = _known(session)
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"] = config.sender, ", ".join(message.to)
    made["Subject"] = _one_line(_filled(message.subject, known))
    made["Date"] = formatdate(session.ended_at or one.made_at, localtime=True)
    made["Message-ID"] = f"<{one.id}@{parseaddr(config.sender)[1].rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"  # so that nobody's out-of-office answers it (RFC 3834)
    made["X-Mailer"] = f"asterisk-ai {__version__}"
    made.set_content(_storable(_filled(message.text, known)))
    return made


def _known(session: CallSession) -> dict[str, str]:
    found = {name: str(session.caller.get(name, "")) for name in ("number", "name", "dialled")}
    return {
        **found,
        "id": session.call_id,
        "agent": session.agent,
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(session.started_at)),
        "seconds": f"{session.lasted:.0f}",
        "outcome": session.outcome.value,
        "summary": session.summary or summary(session),
        "slots": "\n".join(f"{name}: {value}" for name, value in slots(session).items()),
        "transcript": transcript(session),
    }


def _filled(template: str, known: dict[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: known[found[1]], template)


def _one_line(text: str) -> str:
    printed = "".join(char if char.isprintable() else " " for char in _storable(text))
    # What is encoded (RFC 2047) would be decoded by the header that it is put in, line ends included.
    return " ".join(printed.replace("=?", "= ?").split())[:_MAX_HEADER]


def _storable(text: str) -> str:
    """What an engine wrote may hold half a surrogate pair, which no mail takes."""
    return text.encode("utf-8", "replace").decode()
