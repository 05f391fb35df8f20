import { WebSocketView } from "sallyport";

export class NewsView extends WebSocketView {
  static signedIn = true;
  static receiveOnly = true;
}
