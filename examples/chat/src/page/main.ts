import { ApiError, config, isSignedIn, me, signOut } from "./api.ts";
import { Chat } from "./chat.ts";
import { element } from "./elements.ts";
import { SignIn } from "./sign-in.ts";

const room = element("chat", HTMLElement);
const signIn = new SignIn(openChat);
const chat = new Chat(leave);

async function openChat(): Promise<void> {
  const [settings, person] = await Promise.all([config(), me()]);
  signIn.hide();
  room.hidden = false;
  chat.start(settings, person);
}

function closeChat(): void {
  chat.stop();
  room.hidden = true;
  document.title = "Sallyport chat";
}

function leave(words: string): void {
  closeChat();
  signIn.show(words);
}

element("sign-out", HTMLButtonElement).addEventListener("click", async () => {
  closeChat();
  chat.forget();
  history.replaceState(null, "", location.pathname);
  // Show the form after the response, so that its cookie cannot replace that of the next sign-in.
  try {
    await signOut();
    signIn.show();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    signIn.show(`You are still signed in. ${error.message}`);
  }
});

try {
  if (await isSignedIn()) await openChat();
  else signIn.show();
} catch (error) {
  if (!(error instanceof ApiError)) throw error;
  signIn.show(error.status === 401 ? "" : error.message);
}
